"""What users would pick otherwise, written anew from the published algorithms, to be measured against."""
