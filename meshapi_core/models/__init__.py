"""What callers fill in, and what the gateway answers, as pydantic models; a file a resource."""
