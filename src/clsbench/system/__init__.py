"""The machine underneath: device and threads, files, random number generators."""
