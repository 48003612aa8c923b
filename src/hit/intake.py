"""What follows on indexing: new videos are tagged, and judged by the policies that are in force."""
