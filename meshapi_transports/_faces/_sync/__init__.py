"""The client for blocking code."""
