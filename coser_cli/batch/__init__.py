"""Many pictures: jobs from what the user names, and a result for each."""
