"""What states and velocities say of cells: transitions, fates, times, and genes that go along."""
