"""The functions that `lambdad demo` deploys."""
