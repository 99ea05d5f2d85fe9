"""IAM: who may do what; the decision itself is pure and stands apart from the rows that feed it."""
