"""What one stage hands to the next: column names, Arrow schemas, features.json, histories."""
