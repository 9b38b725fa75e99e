"""Labelled face pictures to train an encoder on: readers of face sets, their mixture, their pixels. No torch here."""
