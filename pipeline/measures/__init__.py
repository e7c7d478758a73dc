"""What results are measured with: retrieval, wrong labels found, pair weights, intervals."""
