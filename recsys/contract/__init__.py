"""What stages hand each other: column names, Arrow schemas, features.json, histories."""
