"""What a model of spliced and unspliced molecules does besides what SCVI does."""
