"""The family `transformers`: semantic segmenters as Hugging Face's library stores them."""
