from spacy_clinical_ner.cli import main

if __name__ == "__main__":
    main()
