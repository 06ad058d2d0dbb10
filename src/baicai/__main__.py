"""`python -m baicai` is `baicai`."""

from baicai.cli.main import main

if __name__ == "__main__":
    main()
