"""Build time: checkpoints and networks become model bundles. The only place for torch export."""
