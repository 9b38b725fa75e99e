"""Pretrained encoders of images and speech, and heads on them."""
