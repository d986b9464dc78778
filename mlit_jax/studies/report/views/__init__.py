"""What each study's page shows, from its results.json."""
