"""What the clients cost, beside the libraries that they are over and beside other clients: see docs/performance.md."""
