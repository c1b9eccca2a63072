"""Does sharing help? Each task in the shared model against a single-task model, over several seeds."""
