def pytest_addoption(parser):
    parser.addoption("--soak-minutes", type=float, default=0.2, help="how long to soak")
