"""From rows to components: statistics, variable genes, the feature store, PCA."""
