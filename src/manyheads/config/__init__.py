"""Run files: YAML to frozen settings, strictly; settings to finished parts. The only builder of things from settings."""
