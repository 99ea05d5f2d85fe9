"""S3 at the edge: which requests are S3's, bytes up and down, and answers as S3 words them."""
