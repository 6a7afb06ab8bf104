"""The fault drill: break the running node in every known way and look at what it publishes."""
