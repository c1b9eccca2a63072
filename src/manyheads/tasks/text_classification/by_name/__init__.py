"""Parts of the task that compares texts with labels in words: `by_name_task.py`."""
