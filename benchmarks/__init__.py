"""What groove costs: each module prints one JSON object on its last line."""
