"""Run files: strict parsing of YAML to frozen settings, and the only code that builds parts from settings."""
