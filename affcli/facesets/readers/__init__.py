"""One file per face set: where its pictures are and what their labels mean."""
