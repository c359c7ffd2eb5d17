"""What other tools are told of a run at its end: Prometheus, OpenLineage, MLflow and Airflow."""
