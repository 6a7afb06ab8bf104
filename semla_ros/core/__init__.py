"""What everything stands on: data types, errors, settings, time, threads."""
