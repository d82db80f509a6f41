"""The source task: pretrained models, what they are and how their layers are reached."""
