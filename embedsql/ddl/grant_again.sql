SELECT embedsql.grant_again(ARRAY[{relations}], {search_function}, ARRAY[{policies}]);
