"""Models on the Hub: download, model card, push."""
