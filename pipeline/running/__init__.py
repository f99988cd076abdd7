"""A run, pass by pass and task by task; settling between passes; a sample in this process."""
