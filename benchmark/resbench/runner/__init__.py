"""The parent process: what to run, where, and in which order. Starts without torch and mlflow."""
