"""What a person looks at: pages of runs and results, drawn from their files alone, pictures, and what a terminal shows."""
