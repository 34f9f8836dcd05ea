"""Adapters that drive `meshapi_core` over HTTP libraries; import a client from the module named after yours."""
