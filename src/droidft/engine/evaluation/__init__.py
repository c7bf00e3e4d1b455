"""What a model is worth on data that it was not trained on."""
