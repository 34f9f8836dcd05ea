"""The definition of each method of the client: what it takes, what it sends, what comes back; a file a resource."""
