"""Images and sound from media files, their times, and the faces in them."""
