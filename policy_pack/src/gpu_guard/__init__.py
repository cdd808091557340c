"""CrossGuard policies for GPU slices: judgements on resources, evaluated with the catalogue's device descriptions."""
