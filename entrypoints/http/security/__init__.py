"""Which requests are served: API keys and their principals, local use, and what each route demands."""
