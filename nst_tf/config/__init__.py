"""What a run is: settings in groups, presets, overrides, the sizes that follow. No TensorFlow here."""
