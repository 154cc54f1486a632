"""Drawing corpus, training and evaluation of the encoder that ships with Vitrine."""
