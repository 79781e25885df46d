"""nbgrader comes in here: each module is a plugin that its configuration or its command line names."""
