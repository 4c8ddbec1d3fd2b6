"""How the project's own VGG19 features are trained, packed and judged; on any of Keras' backends."""
