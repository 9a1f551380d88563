"""The system: device and threads, files, random number generators, signals."""
