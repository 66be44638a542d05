"""Runs the workflows of .github/workflows on this machine: real commands, with stand-ins for what GitHub provides."""
