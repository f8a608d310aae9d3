"""What a changed source means for a connection: recognised, judged by its policy, told, followed or held."""
