"""Torch modules that know no task, and the numpy decoding that exported models share."""
