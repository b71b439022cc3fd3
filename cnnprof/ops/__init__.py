"""What an operator is: specs by family, and the table of them all."""
