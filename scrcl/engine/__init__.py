"""The composition: configuration, budget, resumable stages and their list, clusters, report."""
